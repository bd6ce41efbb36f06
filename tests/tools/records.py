"""Records without measurements, for tests of what is done with them."""

from results.record import Cost, Health, Record


def empty_record(config):
    """The JSON of a record of a run with this configuration."""
    health = Health(std=1.0, rankme=2.0, alignment=0.5, uniformity=-1.0, n=10, dim=4)
    cost = Cost(0, 0, {}, None, None, 0, "CPU", "float32", 1)
    return Record(run=config, metrics=(), history=(), health=health, cost=cost, provenance={}).to_json()
