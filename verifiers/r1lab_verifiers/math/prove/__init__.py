"""Decides whether two expressions are equal: by exact value, by canonical form, by numbers, by proof."""
