"""How benchmarks measure and what they leave: one plumbing for all of them.

`machine` says where and when, `turns` times sides in turn, `processes` measures processes and
starts servers, `results` writes figures and tables.
"""
