"""The parts of `fit`: what is minimised, the loop over epochs, validation, and what is kept."""
