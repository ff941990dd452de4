"""Refinement of the flow after the network, by the images alone."""

from engine.refinement.kernel import fault, refined, refined_batch

__all__ = ["fault", "refined", "refined_batch"]
