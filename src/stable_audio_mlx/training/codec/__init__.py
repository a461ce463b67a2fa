"""Training of autoencoders: losses, discriminators, bottlenecks as they are trained, and the objective."""
