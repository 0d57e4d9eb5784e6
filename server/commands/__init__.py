"""The commands of `berth`, one module each; `server/cli.py` loads them when they are called."""
