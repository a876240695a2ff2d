"""The self-test that the real application runs passes in the host too."""

from __future__ import annotations


def test_the_self_test_of_the_module_passes(host):
    module = host.load_module("BrainAnomaly")
    module.BrainAnomalyTest().runTest()
