//! A stage and a metric.

use std::sync::Arc;

use zskt_api::{
    ClassifierNetwork, Dataset, LoggedScalar, Measurement, Metric, MetricContext, NodeOutput, PortType, Progress,
    Result, Signature, Signatures, Stage, StageContext, Trainee, choice, params, ports,
};

choice! {
    /// What a stage does that it must not.
    pub enum StageLie {
        /// Nothing.
        Honest,
        /// It gives its teacher as its student.
        ReturnsTeacher,
        /// It sets its teacher's weights to zero.
        ZeroesTeacher,
        /// It reports NaN.
        NanFigure,
    }
}

params! {
    /// Does nothing.
    pub struct HostileStage {
        /// What it does that it must not.
        pub lie: StageLie = StageLie::Honest,
    }
}

ports! {
    /// Who is there.
    pub struct HostileStageInputs {
        /// The network that must not change.
        pub teacher: Arc<ClassifierNetwork>,
        /// The network that may.
        pub student: Trainee,
    }
}

fn set_to_zero(network: &ClassifierNetwork) -> Result<()> {
    for weight in network.weights.parameters() {
        weight.var().set(&weight.value().zeros_like()?)?;
    }
    Ok(())
}

impl Stage for HostileStage {
    type Inputs = HostileStageInputs;

    const OUTPUT: PortType = PortType::Classifier;

    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        inputs.one("student").cloned()
    }

    fn run(&self, inputs: HostileStageInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let HostileStageInputs { teacher, student: Trainee(student) } = inputs;
        if self.lie == StageLie::ZeroesTeacher {
            set_to_zero(&teacher)?;
        }
        for batch in 1..=3 {
            let loss = if self.lie == StageLie::NanFigure && batch == 2 { f64::NAN } else { 1.0 };
            let figures = [LoggedScalar::on_progress_line("walk.loss", loss)];
            context.observer.batch(&Progress { batch, batches: 3, images: 1, seconds: 0.1, figures: &figures })?;
        }
        Ok(NodeOutput::Classifier(if self.lie == StageLie::ReturnsTeacher { teacher } else { student }))
    }
}

choice! {
    /// What a metric does that it must not.
    pub enum MetricLie {
        /// Nothing.
        Honest,
        /// It sets the student's weights to zero.
        ZeroesStudent,
    }
}

params! {
    /// How many images there are.
    pub struct HostileMetric {
        /// What it does that it must not.
        pub lie: MetricLie = MetricLie::Honest,
    }
}

ports! {
    /// Who is measured.
    pub struct HostileMetricInputs {
        /// One network.
        pub teacher: Arc<ClassifierNetwork>,
        /// Another one.
        pub student: Arc<ClassifierNetwork>,
        /// On what.
        pub dataset: Arc<dyn Dataset>,
    }
}

impl Metric for HostileMetric {
    type Inputs = HostileMetricInputs;

    fn evaluate(&self, inputs: &HostileMetricInputs, _: &MetricContext) -> Result<Measurement> {
        if self.lie == MetricLie::ZeroesStudent {
            set_to_zero(&inputs.student)?;
        }
        Ok(Measurement::new("counted").figure("images", inputs.dataset.signature().images))
    }
}

zskt_api::export! { stage: HostileStage; metric: HostileMetric }
