"""A prompt method of your own: deep visual prompt tuning (VPT, Jia et al., ECCV 2022).

python examples/own_prompt_method.py
cd examples; cl-prompts run digits strategy=own_prompt_method:DeepPrompt prompt_length=4
"""

from cl_prompts.backbones import FrozenViT, create_backbone
from cl_prompts.checks import Count
from cl_prompts.models import PromptedViT
from cl_prompts.prompts import SharedTokens
from cl_prompts.scenarios import load_dataset, si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation, PromptStrategy


class DeepPrompt(PromptStrategy):
    """The same tokens for every image, others in each block; the class token is classified."""

    prompt_length: Count = 8
    """Tokens per block."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """One set of tokens per block, and a linear head."""
        tokens = SharedTokens(range(backbone.depth), self.prompt_length, backbone.dim)
        return PromptedViT(backbone, n_classes, pools=[tokens], multi_label=self.multi_label)


if __name__ == "__main__":
    data = load_dataset("digits", image_size=32)
    benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=5, seed=1)
    anytime = AnytimeEvaluation(data.test, every=200)
    strategy = DeepPrompt(
        backbone=create_backbone(), n_classes=10, plugins=[anytime], evaluator=None
    )
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    print(f"A_AUC {anytime.results['a_auc']:.3f}  A_last {anytime.results['a_last']:.3f}")
