"""Gymnasium environments over the simulation. Importing this package registers ``Hlynr/Intercept-v0``."""

import gymnasium

gymnasium.register(id="Hlynr/Intercept-v0", entry_point="hlynr.envs.environments:InterceptEnv")
