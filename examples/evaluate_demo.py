"""From Python: after ``python cli.py demo``, its dataset is evaluated, looked at and predicted."""

import dermfuse

data = dermfuse.load_dataset("demo/data")
run = dermfuse.evaluate(data, "logreg", cache="demo/embeddings", runs="demo/runs")
for name in ("accuracy", "macro_auc"):
    found = run.metrics["out_of_fold"][name]
    print(f"{name} {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})")
print(run.predict(data.X.head(3))[["decision", "answered_by", "seen_in"]])
print(dermfuse.audit(data, cache="demo/embeddings").to_frame().query("state == 'found'"))
dermfuse.RocDisplay.from_run(run).plot().figure_.savefig("demo/roc.png")
