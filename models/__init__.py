"""Policies and cloning: encoders, cores with memory, strategy and action heads, training with Lightning."""
