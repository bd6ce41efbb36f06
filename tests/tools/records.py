"""Records without measurements, for tests of what is done with them."""

from results.record import Cost, Health, Record

ACCURACIES = {
    "supervised": [90.0, 91.0, 92.0],
    "simclr": [60.0, 61.0, 62.0],
    "byol": [59.5, 60.5, 61.5],
    "barlow": [40.0, 40.1, 40.2],
    "random": [30.0, 30.5, 31.0],
}
"""Of three seeds, by method: simclr and byol cannot be told apart, barlow can."""


def empty_record(config):
    """The JSON of a record of a run with this configuration."""
    health = Health(std=1.0, rankme=2.0, alignment=0.5, uniformity=-1.0, n=10, dim=4)
    cost = Cost(0, 0, {}, None, None, 0, "CPU", "float32", 1)
    return Record(run=config, metrics=(), history=(), health=health, cost=cost, provenance={}).to_json()
