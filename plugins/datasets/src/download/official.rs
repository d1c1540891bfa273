//! Where the datasets lie, and the sums of their files.
//!
//! Sizes and SHA-256 sums are those that TensorFlow Datasets keeps of the same files (`tensorflow_datasets/url_checksums`); the addresses
//! are the authors', for MNIST that of the mirror which torchvision asks first.

use image_formats::{cifar as cifar_files, mnist as mnist_files, svhn as svhn_files};

use super::RemoteFile;

fn file(base: &str, name: &'static str, bytes: u64, sha256: &str) -> RemoteFile {
    RemoteFile { name, base: base.to_owned(), bytes, sha256: sha256.to_owned() }
}

/// The archive with both splits.
pub(crate) fn cifar(variant: cifar_files::Variant) -> Vec<RemoteFile> {
    let base = "https://www.cs.toronto.edu/~kriz/";
    vec![match variant {
        cifar_files::Variant::Cifar10 => file(
            base,
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        cifar_files::Variant::Cifar100 => file(
            base,
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    }]
}

/// The file of a split.
pub(crate) fn svhn(split: svhn_files::Split) -> Vec<RemoteFile> {
    let base = "http://ufldl.stanford.edu/housenumbers/";
    vec![match split {
        svhn_files::Split::Train => file(
            base,
            "train_32x32.mat",
            182_040_794,
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        svhn_files::Split::Test => {
            file(base, "test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b")
        }
        svhn_files::Split::Extra => file(
            base,
            "extra_32x32.mat",
            1_329_278_602,
            "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
        ),
    }]
}

/// Images and labels of a split, in this order, each with its size.
type Sums = [[(u64, &'static str); 2]; 2];

fn idx_files(base: &str, split: mnist_files::Split, [train, test]: Sums) -> Vec<RemoteFile> {
    let (names, sums) = match split {
        mnist_files::Split::Train => (["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"], train),
        mnist_files::Split::Test => (["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"], test),
    };
    names.into_iter().zip(sums).map(|(name, (bytes, sha256))| file(base, name, bytes, sha256)).collect()
}

/// Images and labels of a split.
pub(crate) fn mnist(split: mnist_files::Split) -> Vec<RemoteFile> {
    let sums = [
        [
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ],
        [
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ],
    ];
    idx_files("https://ossci-datasets.s3.amazonaws.com/mnist/", split, sums)
}

/// Images and labels of a split.
pub(crate) fn fashion_mnist(split: mnist_files::Split) -> Vec<RemoteFile> {
    let sums = [
        [
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ],
        [
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ],
    ];
    idx_files("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", split, sums)
}

/// Images and labels of a split.
pub(crate) fn k_mnist(split: mnist_files::Split) -> Vec<RemoteFile> {
    let sums = [
        [
            (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        ],
        [
            (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ],
    ];
    idx_files("http://codh.rois.ac.jp/kmnist/dataset/kmnist/", split, sums)
}
