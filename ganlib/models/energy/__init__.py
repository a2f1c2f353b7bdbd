"""Energy models: Boltzmann machines, and the auto-encoders of their time."""
