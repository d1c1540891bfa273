import pytest

import zskt


def test_a_sweep_is_a_table(pipeline, tmp_path):
    states = []

    def note(event):
        if event.kind == "point":
            states.append((event.point, event["state"]))

    axes = {"distill.batches": [1, 2], "distill.keep": "Last"}
    sweep = zskt.sweep(pipeline, tmp_path / "sweep", seeds=range(2), set=axes, on_event=note)
    assert sum(state == "finished" for _, state in states) == 4
    rows = sweep.rows()
    assert [(row["distill.batches"], row["points"], row["finished"]) for row in rows] == [("1", 2, 2), ("2", 2, 2)]
    tops = [row["student_accuracy.top1"] for row in sweep.rows("points") if row["distill.batches"] == "1"]
    assert rows[0]["student_accuracy.top1"] == pytest.approx(sum(tops) / 2)
    assert (rows[0]["student_accuracy.top1.n"], rows[0]["student_accuracy.top1.std"] >= 0) == (2, True)
    assert sweep.collect()["points"] == sweep.table["points"]
    runs = sweep.runs
    assert len(runs) == 4 and all(run.state == "finished" for run in runs.values())
    pytest.importorskip("pandas")
    assert sweep.to_pandas("points").shape[0] == 4
    with pytest.raises(zskt.NotARunError, match="sweep"):
        zskt.Sweep(tmp_path)
