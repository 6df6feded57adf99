"""Speech for training, made by espeak-ng: many languages, voices, speeds and pitches, and sentences of our own.

What is held out to judge a trained model shares no sentence and no voice with what it was trained on.
Sound is float32 mono at RATE, full scale is 1.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soxr

RATE = 16_000
PEAK = 0.6  # of an utterance: drift cannot take it above full scale
AUDIBLE = 0.01  # of the peak: what is quieter at both ends of an utterance is cut off
WORDS_PER_MINUTE = (110, 200)
PITCH = (20, 80)  # espeak-ng's scale from 0 to 99

START_SHARE = 0.3  # of the clips start with silence
PAUSE_SECONDS = (0.15, 0.9)
GAIN_DB = (-18.0, 0.0)
DRIFT_DB = 4.0
DRIFT_SECONDS = 2.0  # from one level to the next
NOISE_SHARE = 0.5  # of the clips have noise
NOISE_DB = (-50.0, -30.0)  # of noise against the speech

MISSING = (
    "The program espeak-ng, which speaks the sentences for training, was not found: install it with "
    "`apt install espeak-ng` (Linux), `brew install espeak-ng` (macOS) or from "
    "https://github.com/espeak-ng/espeak-ng/releases (Windows)."
)

Parts = tuple[tuple[str, ...], ...]

ENGLISH: Parts = (
    ("My little sister", "The old sailor", "Every good baker", "Our neighbor", "A very small dog", "Nobody", "I"),
    ("found a yellow umbrella", "sang about the moon", "would rather fly", "bought fourteen apples", "wrote a poem"),
    ("before breakfast", "on the way to the harbour", "in a blue boat", "with both hands", "and laughed out loud"),
)
SPANISH: Parts = (
    ("Mi abuela", "El perro negro", "La profesora", "Un amigo de Sevilla", "Nuestro vecino", "La niña"),
    ("quiere comprar naranjas", "canta una canción", "vive cerca del río", "busca las llaves", "baila muy bien"),
    ("todos los domingos", "por la mañana", "en la montaña", "con mucha alegría", "desde hace cinco años"),
)
TRAINING_VOICES = (
    ("", "f1", "f2", "f5", "m1", "m2", "m4", "m6", "m8", "klatt", "klatt2", "klatt4"),
    {
        "en-us": ENGLISH,
        "en-gb": ENGLISH,
        "en-gb-scotland": ENGLISH,
        "es": SPANISH,
        "es-419": SPANISH,
        "de": (
            ("Meine Tante", "Der junge Müller", "Die grüne Katze", "Unser Nachbar", "Ein kleiner Vogel", "Niemand"),
            ("kauft frische Brötchen", "erzählt eine Geschichte", "wohnt am Bahnhof", "sucht den Schlüssel"),
            ("jeden Morgen", "ohne ein Wort", "mit großer Freude", "zwischen den Häusern", "für fünf Euro"),
        ),
        "fr-fr": (
            ("Mon grand frère", "La boulangère", "Un oiseau bleu", "Notre voisine", "Le petit garçon", "Personne"),
            (
                "cherche une maison",
                "voudrait du chocolat",
                "chante toujours",
                "regarde les étoiles",
                "a perdu son train",
            ),
            ("au bord de la mer", "tous les jeudis", "avec un chapeau rouge", "sous la pluie", "depuis longtemps"),
        ),
        "it": (
            ("Mia zia", "Il gatto bianco", "La maestra", "Un vecchio pescatore", "Il nostro amico", "Giovanna"),
            ("prepara la cena", "racconta una storia", "compra due biglietti", "guarda il mare", "suona la chitarra"),
            ("ogni sera", "in mezzo alla piazza", "con grande gioia", "prima di dormire", "perché piove"),
        ),
        "pt-br": (
            ("Minha mãe", "O cachorro", "A professora", "Um amigo de infância", "Nosso vizinho", "Ninguém"),
            ("gosta de viajar", "fez um bolo de maçã", "mora perto da praia", "comprou pão", "escreveu uma carta"),
            ("ontem de manhã", "com muito cuidado", "no fim da rua", "antes do almoço", "e foi embora"),
        ),
        "pl": (
            ("Moja siostra", "Stary profesor", "Nasz kolega", "Czarny kot", "Pan doktor", "Babcia"),
            ("czyta gazety", "kupuje jab\u0142ka", "zna wszystkie drogi", "szuka parasola"),
            ("po obiedzie", "w starym domu", "razem z synem", "na rynku", "bardzo powoli"),
        ),
        "sv": (
            ("Min syster", "Den gamle fiskaren", "En liten fågel", "Vår granne", "Läraren", "Ingen"),
            ("köper färskt bröd", "sjunger en visa", "bor nära sjön", "letar efter nyckeln", "skrev ett långt brev"),
            ("varje morgon", "med stor glädje", "mitt i skogen", "utan att säga något", "på söndag"),
        ),
        "id": (
            ("Kakak saya", "Seorang nelayan tua", "Ibu guru", "Burung kecil itu", "Tetangga kami", "Kucing hitam"),
            ("membeli buah mangga", "menyanyi dengan gembira", "mencari rumah baru", "menulis surat", "suka bercerita"),
            ("setiap pagi", "di tepi sungai", "sebelum hujan turun", "bersama temannya", "di pasar"),
        ),
        "cmn-latn-pinyin": (
            ("wo3 de5 peng2 you5", "lao3 shi1", "yi4 zhi1 xiao3 mao1", "ta1 men5", "wo3 ma1 ma5", "mei2 ren2"),
            ("xi3 huan5 chang4 ge1", "zhu4 zai4 bei3 jing1", "mai3 le5 wu3 ben3 shu1", "xiang3 he1 cha2"),
            ("jin1 tian1 zao3 shang5", "zai4 gong1 yuan2 li3", "gen1 ta1 yi4 qi3", "yin1 wei4 xia4 yu3 le5"),
        ),
    },
)
HELD_OUT_ENGLISH: Parts = (
    ("The captain of this ship", "Your grandmother", "Three brave children", "The weather", "Somebody", "We"),
    ("can hardly believe it", "opened the window", "will arrive at seven", "played a trumpet", "forgot the password"),
    ("because it was raining", "under the bridge", "without any shoes", "for the whole afternoon", "after all"),
)
# With f3 and en-us the voice of the demo's own speech is held out too.
HELD_OUT_VOICES = (
    ("f3", "f4", "m3", "m7", "klatt3"),
    {
        "en-us": HELD_OUT_ENGLISH,
        "en-029": HELD_OUT_ENGLISH,
        "nl": (
            ("Mijn broer", "De oude schilder", "Onze buurvrouw", "Een klein meisje", "De hond", "Mijn oma"),
            ("zoekt een groen huis", "schrijft een lange brief", "woont bij de haven", "koopt vijf broodjes"),
            ("elke zondag", "met veel plezier", "in de regen", "tussen de bomen", "voor het eten"),
        ),
        "fi": (
            ("Minun veljeni", "Vanha kalastaja", "Pieni lintu", "Meidän naapuri", "Opettaja", "Musta kissa"),
            ("ostaa tuoretta leipää", "laulaa kauniisti", "asuu järven rannalla", "etsii avainta", "lukee kirjaa"),
            ("joka aamu", "ystävän kanssa", "metsän keskellä", "ennen ruokaa", "hyvin hitaasti"),
        ),
        "da": (
            ("Min søster", "Den gamle fisker", "En lille fugl", "Vores nabo", "Læreren", "Man"),
            ("køber friskt brød", "synger en vise", "bor tæt ved havet", "leder efter nøglen"),
            ("hver morgen", "med stor glæde", "midt i skoven", "uden at sige noget"),
        ),
        "sw": (
            ("Rafiki yangu", "Mwalimu mzee", "Ndege mdogo", "Jirani yetu", "Mama"),
            ("anapenda kuimba", "ananunua matunda", "anaandika barua", "anatafuta nyumba mpya"),
            ("kila asubuhi", "karibu na mto", "pamoja na watoto", "kabla ya mvua"),
        ),
    },
)


@dataclass(frozen=True)
class Line:
    """A sentence and who says it, how fast and how high."""

    text: str
    voice: str
    """As espeak-ng names it: a language and mostly `+variant`."""
    speed: int
    """Words per minute."""
    pitch: int
    """From 0 to 99."""

    @classmethod
    def random(cls, rng: np.random.Generator, *, held_out: bool) -> Line:
        """Any sentence in any voice of those held out, or of all the others."""
        variants, languages = HELD_OUT_VOICES if held_out else TRAINING_VOICES
        language = rng.choice(list(languages))
        variant = rng.choice(variants)
        return cls(
            text=_sentence(rng, languages[language]),
            voice=f"{language}+{variant}" if variant else str(language),
            speed=int(rng.integers(*WORDS_PER_MINUTE, endpoint=True)),
            pitch=int(rng.integers(*PITCH, endpoint=True)),
        )

    def spoken(self) -> np.ndarray:
        """The sound `[n]` from the first audible sample to the last, with a peak of PEAK.

        Raises:
            RuntimeError: espeak-ng is not there or fails.
        """
        command = ["espeak-ng", "--stdin", "-b", "1", "--stdout", "-v", self.voice]
        command += ["-s", str(self.speed), "-p", str(self.pitch)]
        try:
            done = subprocess.run(command, input=self.text.encode(), capture_output=True, check=False)
        except FileNotFoundError as error:
            raise RuntimeError(MISSING) from error
        if done.returncode != 0 or not done.stdout:
            raise RuntimeError(f"espeak-ng could not speak as {self.voice}: {done.stderr.decode(errors='replace')}")
        samples, rate = _samples(done.stdout)
        return _trimmed(soxr.resample(samples, rate, RATE))


class Library:
    """Utterances made once, for many clips: starting espeak-ng for each would take most of the time."""

    def __init__(self, rng: np.random.Generator, utterances: int, *, held_out: bool) -> None:
        self.utterances = [spoken(rng, held_out=held_out) for _ in range(utterances)]

    def sound_clip(self, rng: np.random.Generator, seconds: float, *, clean: bool = False) -> np.ndarray:
        """Like the function `sound_clip`, of the utterances here."""
        return _clip(rng, seconds, lambda: self.utterances[rng.integers(len(self.utterances))], clean)


def spoken(rng: np.random.Generator, *, held_out: bool) -> np.ndarray:
    """One utterance `[n]`, of about one to four seconds."""
    return Line.random(rng, held_out=held_out).spoken()


def sound_clip(rng: np.random.Generator, seconds: float, *, held_out: bool, clean: bool = False) -> np.ndarray:
    """Utterances with pauses between them, `[round(seconds * RATE)]`; unless `clean`, half of the clips have noise."""
    return _clip(rng, seconds, lambda: spoken(rng, held_out=held_out), clean)


def _clip(rng: np.random.Generator, seconds: float, utterance: Callable[[], np.ndarray], clean: bool) -> np.ndarray:
    samples = round(seconds * RATE)
    pieces = [_pause(rng)] if rng.random() < START_SHARE else []
    while sum(map(len, pieces)) < samples:
        pieces += [utterance(), _pause(rng)]
    sound = np.concatenate(pieces)[:samples] * _level(rng, samples)
    if not clean and rng.random() < NOISE_SHARE:
        sound += _noise(rng, samples) * _speech_level(sound) * 10 ** (rng.uniform(*NOISE_DB) / 20)
    return sound.astype(np.float32)


def _pause(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(round(rng.uniform(*PAUSE_SECONDS) * RATE), np.float32)


def _level(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Gain `[samples]`: one for the whole clip, and a slow drift around it."""
    knots = np.arange(0, samples + DRIFT_SECONDS * RATE + 1, DRIFT_SECONDS * RATE)
    drift = np.interp(np.arange(samples), knots, rng.uniform(-DRIFT_DB, DRIFT_DB, len(knots)))
    return 10 ** ((rng.uniform(*GAIN_DB) + drift) / 20)


def _noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """White or pink noise `[samples]` with a root mean square of 1."""
    noise = rng.standard_normal(samples)
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    return noise / max(np.sqrt(np.mean(noise**2)), 1e-9)


def _speech_level(sound: np.ndarray) -> float:
    """Root mean square of what is not a pause."""
    heard = sound[sound != 0]
    return float(np.sqrt(np.mean(heard**2))) if len(heard) else 0.0


def _sentence(rng: np.random.Generator, parts: Parts) -> str:
    """One to three of the parts in their order, and how it is said."""
    count = rng.choice([1, 2, 3], p=[0.1, 0.3, 0.6])
    first = rng.integers(len(parts) - count, endpoint=True)
    return " ".join(rng.choice(part) for part in parts[first : first + count]) + rng.choice([".", "?", "!"])


def _samples(wav: bytes) -> tuple[np.ndarray, int]:
    """Samples `[n]` and rate of a mono 16 bit WAV. Written to a pipe, it does not know its length."""
    rate = int.from_bytes(wav[24:28], "little")
    start = wav.index(b"data") + 8
    return np.frombuffer(wav[start : len(wav) - (len(wav) - start) % 2], "<i2").astype(np.float32) / 2**15, rate


def _trimmed(sound: np.ndarray) -> np.ndarray:
    """Without the silence around it, at a peak of PEAK."""
    peak = np.abs(sound).max()
    audible = np.flatnonzero(np.abs(sound) >= AUDIBLE * peak)
    return sound[audible[0] : audible[-1] + 1] * (PEAK / peak)
