"""What several tests need: servers, jobs, media, stand-ins. Nothing here is a test, and no test imports another."""
