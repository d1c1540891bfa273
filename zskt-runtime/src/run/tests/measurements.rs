//! What metrics leave: files of their own, and pictures.

use zskt_api::Picture;

use super::*;

params! {
    /// Draws how far its stage is.
    pub struct Draws {}
}

ports! {
    /// What is measured.
    pub struct DrawsInputs {
        /// The point.
        pub classifier: Arc<ClassifierNetwork>,
    }
}

impl Metric for Draws {
    type Inputs = DrawsInputs;

    fn evaluate(&self, _inputs: &DrawsInputs, context: &MetricContext) -> Result<Measurement> {
        let when = format!("{:?} {}", context.stage, context.batch);
        fs::write(context.files.of_evaluation()?.join("when.txt"), &when).unwrap();
        fs::write(context.files.of_all_evaluations()?.join("last.txt"), &when).unwrap();
        let picture = Picture::grey(2, 1, vec![0, context.batch as u8])?;
        let found = Measurement::new("drawn").figure("batch", context.batch).figure("stage", "of its own");
        Ok(found.picture("half <way>", picture.clone()).picture("Half_<way>", picture))
    }
}

static DRAWS: PluginRegistration = PluginRegistration::metric::<Draws>("zskt-test", "1.2.3");

#[test]
fn files_of_evaluations_stay_apart_and_pictures_reach_log_report_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut plan = two_walks();
    let draws = || PluginInstance::Metric(Arc::new(Draws {}));
    plan.nodes[1] = node("before", &DRAWS, draws(), &[("classifier", 0)]);
    plan.nodes[3] = node("between", &DRAWS, draws(), &[("classifier", 2)]);
    run_whole(&plan, &out);

    let kept = out.join("measurements");
    let read = |path: &str| fs::read_to_string(kept.join(path)).unwrap();
    assert_eq!(read("before/start/when.txt"), "None 0");
    for batch in [3, 6, 9, 10] {
        let evaluation = format!("between/first-{batch:07}");
        assert_eq!(read(&format!("{evaluation}/when.txt")), format!("Some(\"first\") {batch}"));
        let picture = image::open(kept.join(&evaluation).join("half__way_-2.png")).unwrap().to_luma8();
        assert_eq!(picture.into_raw(), [0, batch]);
        assert!(kept.join(&evaluation).join("Half__way_.png").exists());
    }
    assert_eq!(read("between/last.txt"), "Some(\"first\") 10");

    let drawn: Vec<_> = log(&out).into_iter().filter(|line| line["metric"] == "between").collect();
    assert_eq!(drawn[0]["pictures"]["half <way>"], "measurements/between/first-0000003/half__way_-2.png");
    assert_eq!(drawn[0]["stage"], "first");
    assert_eq!(drawn[0]["figures"], serde_json::json!({ "batch": 3, "stage": "of its own" }));
    let report = json(&out.join("report.json"));
    assert_eq!(report["pictures"]["between"]["half <way>"], "measurements/between/first-0000010/half__way_-2.png");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("between: half &lt;way&gt;") && page.contains("before: half &lt;way&gt;"));
    let events = fs::read(out.join("events.out.tfevents.zskt")).unwrap();
    let tag = b"between/half <way>";
    assert_eq!(events.windows(tag.len()).filter(|window| window == tag).count(), 4);
}
