"""The two looks: calm dark colours for a terminal emulator, plain reverse video for a serial console."""

from typing import Final

from textual.theme import Theme

RICH: Final = Theme(
    name="cme-rich",
    dark=True,
    primary="#6fb1c9",
    secondary="#8fa7c4",
    accent="#d9b36c",
    success="#8fbf7f",
    warning="#e0b060",
    error="#e07a6f",
    foreground="#d0d4d8",
    background="#14181c",
    surface="#1a1f24",
    panel="#20272e",
    variables={"faint": "#87919a", "marked": "#2d4655"},
)

BASIC: Final = Theme(
    name="cme-basic",
    dark=True,
    ansi=True,
    primary="ansi_default",
    secondary="ansi_default",
    accent="ansi_default",
    success="ansi_default",
    warning="ansi_default",
    error="ansi_default",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "faint": "ansi_default",
        "marked": "ansi_default",
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "border-blurred": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-background": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-foreground": "ansi_default",
        "input-selection-background": "ansi_default",
        "screen-selection-foreground": "ansi_default",
        "screen-selection-background": "ansi_default",
    },
)
