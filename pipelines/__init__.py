"""Stage 2: embeddings and metadata become a table, splits, a fitted pipeline, evidence and a run folder."""

if __name__ == "pipelines":
    # By the folder's bare name, in a checkout: scripts from before the rooms were divided wrap functions of these
    # modules. They are given the modules themselves, since a second copy of one would not be the one that works.
    import sys
    from importlib import import_module

    for _before, _now in {
        "ablate": "workflows.ablate",
        "fit": "workflows.fit",
        "predict": "prediction.predictor",
        "run": "runs.run_folder",
    }.items():
        sys.modules[f"pipelines.{_before}"] = import_module(f"dermfuse.pipelines.{_now}")
