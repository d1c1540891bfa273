//! How MobileNetV2 is known by the names and shapes of weights.

use zskt_api::WeightLayout;

use super::{FIRST, GROUPS, LAST, MobileNetV2, Strides, Variant};
use crate::recognition::{Guess, Names};

/// Classes of ImageNet.
const IMAGENET_CLASSES: usize = 1000;

/// timm's names are those of its EfficientNets.
pub(super) fn layouts(variant: Variant) -> Vec<WeightLayout> {
    if variant != Variant::Original {
        return Vec::new();
    }
    let mut renames = vec![
        (r"^conv_stem\.".to_owned(), "features.0.0.".to_owned()),
        (r"^bn1\.".to_owned(), "features.0.1.".to_owned()),
        (r"^conv_head\.".to_owned(), "features.18.0.".to_owned()),
        (r"^bn2\.".to_owned(), "features.18.1.".to_owned()),
        (r"^classifier\.(weight|bias)$".to_owned(), "classifier.1.$1".to_owned()),
    ];
    let mut place = 1;
    for (group, (widening, _, count)) in GROUPS.into_iter().enumerate() {
        for block in 0..count {
            let layers: &[(&str, &str)] = if widening == 1 {
                &[("conv_dw", "0.0"), ("bn1", "0.1"), ("conv_pw", "1"), ("bn2", "2")]
            } else {
                &[
                    ("conv_pw", "0.0"),
                    ("bn1", "0.1"),
                    ("conv_dw", "1.0"),
                    ("bn2", "1.1"),
                    ("conv_pwl", "2"),
                    ("bn3", "3"),
                ]
            };
            let rename = |(from, to): &(&str, &str)| {
                (format!(r"^blocks\.{group}\.{block}\.{from}\."), format!("features.{place}.conv.{to}."))
            };
            renames.extend(layers.iter().map(rename));
            place += 1;
        }
    }
    vec![WeightLayout { source: "timm", renames }]
}

pub(super) fn guess(variant: Variant, names: &Names<'_>) -> Option<Guess<MobileNetV2>> {
    let weight = |[conv, _]: [String; 2]| names.shape::<4>(&format!("{conv}.weight"));
    let [first, channels, ..] = weight(variant.stem_names())?;
    let [inputs, ..] = weight(variant.last_names())?;
    let head = format!("{}.weight", variant.head_name());
    let classes = names.shape(&head).map(|[classes, _]| classes);
    let classes = classes.or_else(|| names.shape(&head).map(|[classes, _, _, _]| classes))?;
    // ImageNet is the only usual set with so many classes.
    let for_imagenet = variant == Variant::Original && classes == IMAGENET_CLASSES;
    let (strides, size) = if for_imagenet { (Strides::ImageNet, 224) } else { (Strides::Cifar, 32) };
    let of = |width: f64| MobileNetV2 { width, strides, classes, channels, variant };
    // Several widths are rounded to the same channels; published ones come first.
    let published = [1.0, 0.5, 0.75, 1.4, 1.3, 1.1, 1.2, 0.35, 0.25, 0.1];
    let network =
        published.into_iter().chain((1..=200).map(|step| f64::from(step) / 20.0)).map(of).find(|network| {
            let channels = |published, width| variant.channels(published, width);
            channels(FIRST, network.width) == first
                && channels(LAST, network.width.max(1.0)) == inputs
                && network.blocks().into_iter().all(|block| {
                    let last = block.convolutions - 1;
                    weight(variant.block_names(block.place, last, block.convolutions))
                        .is_some_and(|[output, ..]| output == block.output)
                })
        })?;
    if variant != Variant::Original {
        return Some((network, size, Vec::new()));
    }
    let (taken, other) = match strides {
        Strides::Cifar => ("Cifar", "networks for ImageNet have `strides: ImageNet`"),
        Strides::ImageNet => ("ImageNet", "networks for images of 32×32 have `strides: Cifar`"),
    };
    let assumption = format!(
        "`strides: {taken}`: weights do not tell where the resolution is halved, and this is usual for so many classes; {other}"
    );
    Some((network, size, vec![assumption]))
}
