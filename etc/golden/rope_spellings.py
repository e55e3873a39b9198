"""What transformers makes of a config.json that says its RoPE parameters twice.

Prints theta, type and factor for the spellings that test_model_config.c checks; nothing is
written.  Needs transformers 5.

    python3 etc/golden/rope_spellings.py
"""
from transformers import LlamaConfig

SPELLINGS = [
    {"rope_theta": 5, "rope_parameters": {"rope_theta": 7, "rope_type": "default"}},
    {"rope_theta": None, "rope_parameters": {"rope_theta": 7}},
    {"rope_scaling": None, "rope_parameters": {"rope_theta": 7, "rope_type": "linear", "factor": 4}},
    {"rope_theta": 5, "rope_scaling": {"rope_type": "linear", "factor": 2},
     "rope_parameters": {"rope_theta": 7, "rope_type": "linear", "factor": 4}},
    {"rope_theta": 5, "rope_scaling": {"type": "linear", "factor": 2, "rope_theta": 7}},
    {"rope_parameters": {"rope_theta": 7, "type": "linear", "factor": 4}},
]

for spelling in SPELLINGS:
    rope = LlamaConfig.from_dict(spelling).rope_parameters
    print(rope["rope_theta"], rope["rope_type"], rope.get("factor"), spelling)
