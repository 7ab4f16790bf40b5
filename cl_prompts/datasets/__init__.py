"""Images and labels: registry, readers, decoding, transforms and the choice of classes."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "catalog.DATASETS catalog.DataSetEntry dataset.DataSet dataset.ImageSet dataset.as_dataset"
    " registry.dataset_options registry.find_dataset registry.load_dataset"
    " survey.Survey transforms.Augmentation"
    " transforms.ImageTransform transforms.PrivateRandom",
)
__all__ = __dir__()
