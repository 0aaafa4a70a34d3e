"""What comes in from outside, made hostile: see docs/hostile.md."""
