"""The wired M-Bus side: telegram decoder, link layer, lines, master, simulated line (EN 13757)."""
