"""Evaluations of a representation: one function each, registered by name.

An evaluation is a function of frozen :class:`~protocols.features.features.Features` and of its own options, which are
keyword-only. One that declares ``takes="context"`` is given an
:class:`~protocols.features.context.EvaluationContext` instead: the backbone itself with images and labels. It returns
metrics by name, or a :class:`~protocols.evaluate.retrieval.RetrievalResult`, which also has images for a contact sheet.
"""
