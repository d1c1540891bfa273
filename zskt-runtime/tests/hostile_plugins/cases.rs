//! The lies, and what is said of each.

/// A run with plugins of which one lies.
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// The pipeline, without its ending.
    pub pipeline: &'static str,
    /// What is changed of the pipeline.
    pub sets: &'static [&'static str],
    /// What the complaint contains; nothing where the run ends well.
    pub said: &'static [&'static str],
}

/// The zero-shot game, measured after every batch.
pub const GAME: &str = r#"(
    name: "game",
    nodes: {
        "teacher": HostileTeacher(),
        "student": HostileNet(),
        "generator": HostileGenerator(),
        "belief": HostileLoss(),
        "seek": Maximize(optimizer: HostileOptimizer()),
        "imitate": Minimize(optimizer: HostileOptimizer(), schedule: HostileSchedule()),
        "transfer": Transfer(batches: 6, batch_size: 4, evaluate_every: 2, checkpoint_every: 3),
        "images": HostileDataset(),
        "gauge": HostileMetric(),
    },
    edges: [
        "generator -> seek.player", "belief -> seek.loss", "student -> imitate.player", "belief -> imitate.loss",
        "teacher -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
        "teacher -> gauge.teacher", "transfer -> gauge.student", "images -> gauge.dataset",
    ],
)"#;

/// A stage of a third party's own, which learns nothing, and a dataset that is learnt from.
pub const WALK: &str = r#"(
    name: "walk",
    nodes: {
        "teacher": HostileTeacher(),
        "student": HostileNet(),
        "job": HostileStage(),
        "images": HostileDataset(),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: HostileOptimizer()),
        "teaching": Train(epochs: 1.0, batch_size: 4),
        "accuracy": Accuracy(),
    },
    edges: [
        "teacher -> job.teacher", "student -> job.student",
        "job -> learn.player", "labels -> learn.loss",
        "job -> teaching.student", "images -> teaching.images", "learn -> teaching.turns",
        "teaching -> accuracy.classifier", "images -> accuracy.dataset",
    ],
)"#;

macro_rules! cases {
    ($($name:ident: $pipeline:ident [$($set:literal),*] => [$($said:literal),*];)*) => {
        &[$(Case { name: stringify!($name), pipeline: stringify!($pipeline), sets: &[$($set),*], said: &[$($said),*] },)*]
    };
}

/// All of them.
pub const CASES: &[Case] = cases! {
    honest_game: game [] => [];
    honest_walk: walk [] => [];

    generator_of_another_shape: game ["generator.lie=OtherShape"] =>
        ["node `generator`: the plugin `HostileGenerator` of zskt-runtime", "declares images 3×4×4, but made 3×2×2"];
    generator_of_half_a_batch: game ["generator.lie=HalfBatch"] =>
        ["node `generator`: the plugin `HostileGenerator`", "has to give 2 images, but gave 1"];
    generator_of_another_type: game ["generator.lie=OtherType"] =>
        ["node `generator`: the plugin `HostileGenerator`", "has to give images of type F32, but gave F64"];
    generator_with_too_few_latents: game ["generator.lie=ShortSample"] =>
        ["node `generator`: the plugin `HostileGenerator`", "has to draw 12 numbers for 4 latents, but drew 11"];
    generator_with_latents_that_are_not_finite: game ["generator.lie=NanSample"] =>
        ["node `generator`: the plugin `HostileGenerator`", "has to draw finite numbers, but drew NaN"];

    classifier_with_other_classes: game ["student.lie=OtherClasses"] =>
        ["node `student`: the plugin `HostileNet`", "has to give logits of shape [2, 3], but gave [2, 2]"];
    classifier_without_its_activations: game ["student.lie=NoActivations"] =>
        ["node `student`: the plugin `HostileNet`", "declares 1 activations, but gave 0"];
    classifier_with_small_activations: game ["student.lie=SmallActivations"] =>
        ["node `student`: the plugin `HostileNet`", "declares activations 3×4×4, but made 3×2×2"];
    classifier_of_another_type: game ["student.lie=OtherType"] =>
        ["node `student`: the plugin `HostileNet`", "has to give logits of type F32, but gave F64"];
    classifier_that_trains_on_in_evaluation: game ["teacher.lie=TrainsOn"] =>
        ["node `teacher`: the plugin `HostileTeacher`", "changed its weight `steps` in a forward pass in evaluation mode"];
    // It is honest while it is watched.
    classifier_that_trains_on_later: game ["teacher.lie=TrainsOnLater"] =>
        ["error: node `transfer`: the weight `steps` of the network `teacher` changed while the plugin `Transfer`",
        "unless the network's own did in a forward pass, the plugin `HostileTeacher` of zskt-runtime"];
    // Its stage is the second: before the first it is known.
    classifier_whose_layers_do_not_fit: walk ["student.lie=DoesNotFit"] =>
        ["error: node `student`: the plugin `HostileNet`", "does not fit 2 inputs", "nothing was trained", "given 2 images 3×4×4"];
    classifier_that_panics: walk ["student.lie=Panics"] =>
        ["error: node `student`: the plugin `HostileNet`", "panicked at ", "no forward pass", "nothing was trained"];
    classifier_that_exits: game ["student.lie=Exits"] =>
        ["error: node `student`: the plugin `HostileNet` of zskt-runtime", "exited the program"];
    architecture_that_cannot_be_built: game ["student.lie=TwoOfOneName"] =>
        ["`student`: its network cannot be built: the plugin `HostileNet` of zskt-runtime", "two weights are called `steps`", "game.ron:"];
    architecture_that_panics_in_the_check: game ["student.lie=PanicsInCheck"] =>
        ["node `student`: the plugin `HostileNet`", "panicked while `game.ron` was checked at ", "no check"];

    teacher_whose_logits_are_not_finite: game ["teacher.lie=NanLogits"] =>
        ["node `teacher`: the plugin `HostileTeacher`", "gave logits that are not finite (NaN)", "its weights are finite"];
    student_whose_logits_are_not_finite: game ["student.lie=NanLogits"] =>
        ["node `student`: the plugin `HostileNet`", "gave logits that are not finite (NaN)", "a fault of the network"];
    teacher_with_a_negative_variance: game ["teacher.lie=NegativeVariance"] =>
        ["node `teacher`: the plugin `HostileTeacher`", "the running variance `running_var` is negative (-1)"];
    teacher_with_weights_that_are_not_finite: game ["teacher.lie=NanWeight"] =>
        ["node `teacher`: the plugin `HostileTeacher`", "the weight `fc.bias` is not finite (NaN)"];
    teacher_under_another_name: game ["teacher.lie=OtherName"] =>
        ["node `teacher`: the plugin `HostileTeacher`", "called it `someone`"];

    dataset_that_gives_too_few: walk ["images.lie=TooFew"] =>
        ["node `images`: the plugin `HostileDataset`", "has to give 4 images, but gave 3"];
    dataset_that_holds_fewer_than_described: walk ["images.lie=DescribesMore"] =>
        ["node `images`: the plugin `HostileDataset`", "describes 16 images", "loaded 8 images"];
    dataset_of_another_shape: walk ["images.lie=OtherShape"] =>
        ["node `images`: the plugin `HostileDataset`", "declares images 3×4×4, but made 3×2×2"];
    dataset_with_a_pixel_that_is_not_finite: walk ["images.lie=NanPixel"] =>
        ["node `images`: the plugin `HostileDataset`", "image 5 has a pixel of NaN"];
    dataset_with_a_label_too_large: walk ["images.lie=LargeLabel"] =>
        ["node `images`: the plugin `HostileDataset`", "declares 3 classes, from 0, but image 5 has label 3"];
    dataset_whose_last_image_is_missing: walk ["images.lie=LastIsMissing"] =>
        ["node `images`: the plugin `HostileDataset`", "there is no image 7"];

    loss_that_is_a_vector: game ["belief.lie=Vector"] =>
        ["node `belief`: the plugin `HostileLoss` of zskt-runtime", "has to give a scalar (shape []), but gave a tensor of shape [2]",
        "output of `seek`"];
    loss_that_is_not_finite: game ["belief.lie=NotFinite"] => ["belief", "gave a loss of NaN for finite inputs"];
    loss_that_changes_a_network: game ["belief.lie=ChangesWeights"] =>
        ["node `belief`: the plugin `HostileLoss`", "changed `fc.weight` of the network"];
    loss_that_ignores_its_player: game ["belief.lie=IgnoresPlayer"] => ["imitate"];

    schedule_that_climbs: game ["imitate.schedule.lie=Negative"] =>
        ["node `imitate`, parameter `schedule`: the plugin `HostileSchedule`", "has to give a factor of 0 or more, but gave -1 for batch 0 of 6"];
    schedule_that_is_not_finite: game ["imitate.schedule.lie=NotFinite"] =>
        ["node `imitate`, parameter `schedule`: the plugin `HostileSchedule`", "has to give a factor of 0 or more, but gave NaN"];
    schedule_that_panics: game ["imitate.schedule.lie=Panics"] =>
        ["node `imitate`, parameter `schedule`: the plugin `HostileSchedule`", "panicked at ", "no schedule"];
    optimizer_that_panics: game ["imitate.optimizer.lie=Panics"] =>
        ["node `imitate`, parameter `optimizer`: the plugin `HostileOptimizer`", "panicked at ", "no step"];
    optimizer_that_climbs: game ["imitate.optimizer.lie=NegativeRate"] =>
        ["node `imitate`, parameter `optimizer`: the plugin `HostileOptimizer`", "has to give a learning rate of 0 or more, but gave -0.1"];
    optimizer_that_changes_another_network: game ["imitate.optimizer.lie=Others"] =>
        ["node `imitate`, parameter `optimizer`: the plugin `HostileOptimizer`", "changed `fc.weight` of the network `generator`"];
    training_that_diverges: game ["imitate.optimizer.lr=1e300"] =>
        ["node `student`: the plugin `HostileNet`", "not finite", "training has diverged", "`imitate` may help"];
    training_that_overflows: game ["imitate.optimizer.lr=1e30"] =>
        ["node `belief`: the plugin `HostileLoss`", "gave a loss of inf for finite inputs", "training has diverged"];

    nested_honest: walk ["job=HostileStage(critic: HostileNet(), loss: HostileLoss(), data: HostileDataset(), guide: HostileTeacher(),
        painter: HostileGenerator(), optimizer: HostileOptimizer(), schedule: HostileSchedule())"] => [];
    nested_dataset_with_a_label_too_large: walk ["job.data=HostileDataset(lie: LargeLabel)"] =>
        ["node `job`, parameter `data`: the plugin `HostileDataset` of zskt-runtime", "image 5 has label 3"];
    nested_dataset_that_holds_fewer_than_described: walk ["job.data=HostileDataset(lie: DescribesMore)"] =>
        ["node `job`, parameter `data`: the plugin `HostileDataset`", "describes 16 images", "loaded 8 images"];
    nested_architecture_without_its_activations: walk ["job.critic=HostileNet(lie: NoActivations)", "job.loss=HostileLoss()"] =>
        ["node `job`, parameter `critic`: the plugin `HostileNet`", "declares 1 activations, but gave 0"];
    nested_architecture_whose_logits_are_not_finite: walk ["job.critic=HostileNet(lie: NanLogits)", "job.loss=HostileLoss()"] =>
        ["node `job`, parameter `critic`: the plugin `HostileNet`", "gave logits that are not finite (NaN)", "of `job` may help"];
    nested_architecture_that_cannot_be_built: walk ["job.critic=HostileNet(lie: TwoOfOneName)"] =>
        ["`job`: its network cannot be built: parameter `critic`: the plugin `HostileNet` of zskt-runtime", "two weights are called `steps`"];
    nested_architecture_that_panics_in_the_check: walk ["job.critic=HostileNet(lie: PanicsInCheck)"] =>
        ["node `job`, parameter `critic`: the plugin `HostileNet`", "panicked while `walk.ron` was checked at ", "no check"];
    nested_teacher_that_trains_on_in_evaluation: walk ["job.guide=HostileTeacher(lie: TrainsOn)"] =>
        ["node `job`, parameter `guide`: the plugin `HostileTeacher`", "changed its weight `steps`"];
    nested_generator_of_another_shape: walk ["job.painter=HostileGenerator(lie: OtherShape)"] =>
        ["node `job`, parameter `painter`: the plugin `HostileGenerator`", "declares images 3×4×4, but made 3×2×2"];
    nested_loss_that_is_a_vector: walk ["job.critic=HostileNet()", "job.loss=HostileLoss(lie: Vector)"] =>
        ["node `job`, parameter `loss`: the plugin `HostileLoss`", "has to give a scalar (shape [])"];
    nested_loss_that_panics: walk ["job.critic=HostileNet()", "job.loss=HostileLoss(lie: Panics)"] =>
        ["node `job`: parameter `loss`: the plugin `HostileLoss` of zskt-runtime", "panicked at ", "no loss"];
    nested_optimizer_that_climbs: walk ["job.critic=HostileNet()", "job.loss=HostileLoss()", "job.optimizer=HostileOptimizer(lie: NegativeRate)"] =>
        ["node `job`, parameter `optimizer`: the plugin `HostileOptimizer`", "learning rate of 0 or more, but gave -0.1"];
    nested_schedule_that_climbs: walk ["job.critic=HostileNet()", "job.loss=HostileLoss()", "job.optimizer=HostileOptimizer()",
        "job.schedule=HostileSchedule(lie: Negative)"] =>
        ["node `job`, parameter `schedule`: the plugin `HostileSchedule`", "has to give a factor of 0 or more, but gave -1"];

    stage_that_returns_its_teacher: walk ["job.lie=ReturnsTeacher"] =>
        ["node `job`: the plugin `HostileStage`", "gives the network `student`, but gave `teacher`"];
    stage_that_zeroes_its_teacher: walk ["job.lie=ZeroesTeacher"] =>
        ["error: node `job`: the weight `fc.weight` of the network `teacher` changed while the plugin `HostileStage`"];
    stage_with_figures_that_are_not_finite: walk ["job.lie=NanFigure"] =>
        ["error: node `job`: the plugin `HostileStage` of zskt-runtime", "reports that `walk.loss` is NaN in batch 2"];
    metric_that_changes_the_student: game ["gauge.lie=ZeroesStudent"] =>
        ["node `gauge`: the weight `fc.weight` of the network `student` changed while the plugin `HostileMetric`"];
};
