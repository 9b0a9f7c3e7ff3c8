"""For all tests: how long an example of a property takes is no assertion, machines differ and may be busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("no_deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_deadline")
