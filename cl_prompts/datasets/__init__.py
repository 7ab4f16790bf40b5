"""Images and labels: registry, readers, decoding, transforms and the choice of classes."""

from __future__ import annotations

#: Data sets by name, a line each, in the order of ``DATASETS``; here, since lists load no torch.
DESCRIPTIONS = {
    "digits": (
        "scikit-learn's 1797 handwritten digits, enlarged to 32x32, 10 classes, embedded (no"
        " download)"
    ),
    "cifar10": "CIFAR-10: 50000 training and 10000 test photos of 32x32 pixels, 10 classes",
    "cifar100": "CIFAR-100: 50000 training and 10000 test photos of 32x32 pixels, 100 classes",
    "tiny_imagenet": (
        "Tiny-ImageNet: 100000 training and 10000 validation photos of 64x64 pixels, 200 classes"
    ),
    "imagenet_r": (
        "ImageNet-R: 30000 renditions (art, cartoons, toys ...) of 200 ImageNet classes, split"
        " 24000 / 6000"
    ),
    "cub200": (
        "CUB-200-2011: 5994 training and 5794 test photos of birds, 200 classes, official split"
    ),
    "folder": (
        "any folder of images: root/train/<class>/* and root/test/<class>/*, or root/<class>/* with"
        " test_percent"
    ),
    "digit_domains": (
        "the 1797 digits, a quarter of them each upright, rotated, inverted and blurred: four"
        " domains, embedded (no download)"
    ),
    "digit_scenes": (
        "1500 training and 500 test scenes of 1 to 4 handwritten digits, 64x64, 10 classes,"
        " embedded (no download)"
    ),
    "voc2007": (
        "PASCAL VOC 2007: 5011 training and 4952 test photos, 20 classes, several in an image"
    ),
    "coco2014": (
        "COCO 2014: 82783 training and 40504 test (validation) photos, 80 classes, several in an"
        " image"
    ),
    "coco2017": (
        "COCO 2017: 118287 training and 5000 test (validation) photos, 80 classes, several in an"
        " image"
    ),
    "csv": (
        "any images with several labels: root/train.csv and root/test.csv, rows of"
        " path,label;label; with one label and a domain: path,label,domain"
    ),
    "domainnet": (
        "DomainNet: 0.6 million images of 345 classes in 6 domains (clipart, sketch, real ...),"
        " official lists"
    ),
}
