"""Labellers: which strategy was pursued at a step, from the steps before and after it."""
