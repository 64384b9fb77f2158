"""What a release is made of: bundle.json, the card, chunks. No disk and no socket is touched here."""
