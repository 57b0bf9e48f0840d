"""Foreign registers of tax numbers, and external tax engines."""
