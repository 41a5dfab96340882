"""Our networks against recorded outputs of the official implementations.

    python -m tests.parity tests/parity/goldens            # every net
    python -m tests.parity FOLDER mobilefacenet iresnet50  # these

A folder holds, for each net, NET.npz (`case/in/name` and `case/out/name` arrays, computed on the CPU in
float32) and NET.keys.json (names, shapes and the rule that regenerates each weight from its name, so no
weights are stored). The arrays lie in the folder itself or in its `goldens/`; a `parity_common.py` beside
them replaces the rules of numbers.py for that folder. Every network joins the table in factories.py.
"""
