"""The real graph editor in a real browser, for pictures and for tests."""
