//! A stage and a metric.

use std::sync::Arc;

use zskt_api::candle_core::{DType, Tensor};
use zskt_api::{
    Architecture, BuildContext, Builder, ClassifierNetwork, Dataset, DatasetSource, FeatureMap, ForwardMode,
    GeneratorArchitecture, GeneratorInput, Gradients, LoggedScalar, Loss, LossBatch, Measurement, Metric,
    MetricContext, Nested, NodeOutput, Optimizer, PortType, Progress, Result, Schedule, Signature, Signatures, Stage,
    StageContext, TeacherSource, Trainee, choice, params, ports,
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
    /// Trains nothing of the pipeline.
    pub struct HostileStage {
        /// What it does that it must not.
        pub lie: StageLie = StageLie::Honest,
        /// Images of its own.
        pub data: Option<Nested<dyn DatasetSource>> = None,
        /// A network of its own.
        pub critic: Option<Nested<dyn Architecture>> = None,
        /// A trained network of its own.
        pub guide: Option<Nested<dyn TeacherSource>> = None,
        /// A generator of its own.
        pub painter: Option<Nested<dyn GeneratorArchitecture>> = None,
        /// A loss of its own, of the critic.
        pub loss: Option<Nested<dyn Loss>> = None,
        /// An optimizer of its own, of the critic.
        pub optimizer: Option<Nested<dyn Optimizer>> = None,
        /// A schedule of its own.
        pub schedule: Option<Nested<dyn Schedule>> = None,
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
        self.learn_alone(&context.build)?;
        for batch in 1..=3 {
            let loss = if self.lie == StageLie::NanFigure && batch == 2 { f64::NAN } else { 1.0 };
            let figures = [LoggedScalar::on_progress_line("walk.loss", loss)];
            context.observer.batch(&Progress { batch, batches: 3, images: 1, seconds: 0.1, figures: &figures })?;
        }
        Ok(NodeOutput::Classifier(if self.lie == StageLie::ReturnsTeacher { teacher } else { student }))
    }
}

impl HostileStage {
    /// A step of a network of its own, which no edge brings.
    fn learn_alone(&self, context: &BuildContext) -> Result<()> {
        let builder = Builder::random(&context.streams, "critic", context.precision, &context.device);
        let critic = self.critic.as_ref().map(|critic| critic.build(&builder)).transpose()?;
        let mut images = FeatureMap::from_nchw(&Tensor::ones((8, 3, 4, 4), DType::F32, &context.device)?)?;
        if let Some(data) = &self.data {
            let indices: Vec<_> = (0..8).collect();
            images = data.load(context)?.batch(&indices, None, DType::F32, &context.device)?.images;
        }
        if let Some(painter) = &self.painter {
            let painter = painter.build(&builder.at("painter"), None)?;
            let latents = Tensor::ones((8, painter.latent_dim()), DType::F32, &context.device)?;
            images = painter.forward(&GeneratorInput::unconditional(&latents), ForwardMode::eval())?;
        }
        if let Some(guide) = &self.guide {
            guide.load(context)?.forward.forward(&images, ForwardMode::eval())?;
        }
        let (Some(critic), Some(loss)) = (critic, &self.loss) else { return Ok(()) };
        let output = critic.forward(&images, ForwardMode::train())?;
        let target = loss.target(&output.detach().into())?;
        let loss = loss.value(&LossBatch::new(&output, &target))?;
        let weights = builder.weights();
        if let Some(optimizer) = &self.optimizer {
            let mut state = optimizer.start(weights.parameters().cloned().collect())?;
            let factor = self.schedule.as_ref().map_or(1.0, |schedule| schedule.factor(0, 3));
            state.step(&Gradients::of(&loss, weights.parameters())?, optimizer.learning_rate() * factor)?;
        }
        Ok(())
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
