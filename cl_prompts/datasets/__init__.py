"""Images and labels: registry, readers, decoding, transforms and the choice of classes."""

#: data sets by name, a line each; here, since lists load no torch
DESCRIPTIONS = {
    "digits": "scikit-learn's 1797 handwritten digits, enlarged to 32x32, 10 classes, embedded",
    "cifar10": "CIFAR-10: 50000 training and 10000 test photos of 32x32 pixels, 10 classes",
    "cifar100": "CIFAR-100: 50000 training and 10000 test photos of 32x32 pixels, 100 classes",
    "tiny_imagenet": "Tiny-ImageNet: 100000 training and 10000 validation photos, 200 classes",
    "imagenet_r": "ImageNet-R: 30000 renditions of 200 ImageNet classes, split 24000 / 6000",
    "cub200": "CUB-200-2011: 5994 training and 5794 test photos of birds, 200 classes",
    "grocery": "GroceryStoreDataset: 5421 photos by phone, 81 or 42 classes, MIT licence",
    "folder": "images in root/train/<class>/* and root/test/<class>/*, or in root/<class>/*",
    "hf": "a data set of the Hugging Face hub, or a local one in its formats: dataset.path=NAME",
    "digit_domains": "the digits in four domains: upright, rotated, inverted and blurred, embedded",
    "digit_scenes": "2000 scenes of 1 to 4 handwritten digits, 64x64, 10 classes, embedded",
    "voc2007": "VOC 2007: 5011 training and 4952 test photos, 20 classes, several in an image",
    "coco2014": "COCO 2014: 82783 training and 40504 test photos, 80 classes, several in an image",
    "coco2017": "COCO 2017: 118287 training and 5000 test photos, 80 classes, several in an image",
    "csv": "images with several labels, or domains: tables root/train.csv and root/test.csv",
    "features": "stored features of images, .npy or safetensors, for methods in closed form",
    "webdataset": "WebDataset shards root/train*.tar and root/test*.tar, read at random",
    "domainnet": "DomainNet: 0.6 million images of 345 classes in 6 domains, official lists",
}
