"""Learning environments, and fine-tuning with APPO and imitation."""
