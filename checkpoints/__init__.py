"""The weights that ship: `index.toml` lists them, each with its sha256 and a card."""
