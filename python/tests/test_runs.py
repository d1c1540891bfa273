import os
import signal
import subprocess
import sys
import textwrap

import pytest

import zskt


def test_a_run_tells_what_happens_and_its_folder_has_what_it_found(finished, told, pipeline):
    kinds = [event.kind for event in told]
    assert (kinds[0], kinds[1], kinds[-1]) == ("started", "stage_started", "finished")
    assert told[0]["format"] == zskt.EVENTS_FORMAT
    first = next(event for event in told if event.kind == "batch" and event.stage == "distill")
    assert (first.batch, first["batches"]) == (1, 6)
    figures = first.figures
    parts = figures["imitate.loss.belief"] + figures["imitate.loss.distance"]
    assert figures["imitate.loss"] == pytest.approx(parts, rel=1e-5)
    assert "distill  1/6" in str(first)

    assert finished.state == "finished" and not finished.falls_short
    assert finished.failure is None
    assert finished.manifest["seed"] == 3
    assert finished.configuration["distill.batches"] == "6"
    assert finished.changed["distill.evaluate_every"] == "2"
    assert finished.figures["student_accuracy.top1"] == finished.report["metrics"]["student_accuracy"]["top1"]
    assert finished.class_names["student_accuracy"] == [str(digit) for digit in range(10)]
    assert sorted(finished.weights) == ["student", "student.best", "teaching"]
    assert zskt.Run(finished.path).report == finished.report
    # The pipeline as resolved is a pipeline.
    again = pipeline.parent / "again.ron"
    again.write_text(finished.pipeline)
    assert "14 nodes" in zskt.validate(again).summary


def test_what_was_logged_is_records_and_frames(finished):
    batches = finished.records("batch", stage="distill")
    assert [record["batch"] for record in batches] == [1, 2, 3, 4, 5, 6]
    assert len(finished.records(metric="student_accuracy")) == 4
    assert list(finished.follow()) == finished.records()

    pandas = pytest.importorskip("pandas")
    frame = finished.to_pandas("metric", metric="student_accuracy")
    assert isinstance(frame, pandas.DataFrame)
    assert frame["batch"].dropna().tolist() == [2, 4, 6]
    assert frame["after"].dropna().tolist() == ["distill"]
    polars = pytest.importorskip("polars")
    frame = finished.to_polars("batch")
    assert frame.filter(polars.col("stage") == "distill")["imitate.loss"].null_count() == 0
    assert frame.height == len(finished.records("batch"))


def test_what_is_wrong_is_an_error_with_what_the_program_said(pipeline, tmp_path):
    with pytest.raises(zskt.RefusedError, match="did you mean `batches`") as refused:
        zskt.run(pipeline, set={"distill.batchs": 3}, out=tmp_path / "run")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()
    with pytest.raises(zskt.RefusedError, match="depth"):
        zskt.validate(pipeline, set={"student": "WideResNet(depth: 11)"})
    with pytest.raises(zskt.NotARunError, match="no manifest"):
        zskt.Run(tmp_path)
    with pytest.raises(TypeError, match="resume="):
        zskt.run()


def test_a_run_that_is_stopped_goes_on(pipeline, tmp_path, finished):
    with zskt.start(pipeline, set={"seed": 3}, out=tmp_path / "run") as process:
        for event in process:
            if event.kind == "batch" and event.stage == "distill":
                process.stop()
        with pytest.raises(zskt.RunInterruptedError, match="continue with") as stopped:
            process.wait()
    assert stopped.value.folder == tmp_path / "run"
    assert zskt.Run(tmp_path / "run").state == "interrupted"
    resumed = zskt.run(resume=tmp_path / "run")
    assert resumed.report["weights"] == finished.report["weights"]


def test_an_exception_on_the_way_stops_the_run(pipeline, tmp_path):
    def fail(event):
        if event.kind == "batch":
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        zskt.run(pipeline, set={"distill.batches": 100_000}, out=tmp_path / "run", on_event=fail)
    assert zskt.Run(tmp_path / "run").state == "interrupted"


def test_ctrl_c_stops_the_run_at_a_checkpoint(pipeline, tmp_path):
    script = textwrap.dedent(f"""
        import zskt
        show = lambda event: print(event.kind, flush=True)
        zskt.run({str(pipeline)!r}, set={{"distill.batches": 100_000}}, out={str(tmp_path / "run")!r}, on_event=show)
    """)
    python = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "batch\n" in iter(python.stdout.readline, "")
    os.kill(python.pid, signal.SIGINT)
    _, said = python.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert zskt.Run(tmp_path / "run").state == "interrupted"


def test_the_program_is_found_or_it_is_said_how(monkeypatch, tmp_path):
    program = zskt.find_program()
    with pytest.raises(zskt.ProgramNotFoundError, match="`program` says"):
        zskt.find_program(tmp_path / "nothing")
    monkeypatch.setenv("ZSKT_RUN", str(tmp_path))
    with pytest.raises(zskt.ProgramNotFoundError, match="`ZSKT_RUN` says"):
        zskt.find_program()
    assert zskt.find_program(program) == program
    monkeypatch.delenv("ZSKT_RUN")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(zskt.ProgramNotFoundError, match="set ZSKT_RUN"):
        zskt.find_program()
    monkeypatch.setenv("PATH", str(program.parent))
    assert zskt.find_program().samefile(program)
