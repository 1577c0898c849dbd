"""What the push screens and `cme-tui push` share: words for states, and what people type."""
