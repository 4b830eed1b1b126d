"""Policies and cloning: encoders, cores with memory, strategy and action heads. Nothing is here yet."""
