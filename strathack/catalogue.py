"""Every command: where its options and its function are, and one line about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command, by the names of its options and its function, which are imported when they are needed.

    Attributes:
        options: ``module:name`` of the dataclass that describes and checks its options.
        run: ``module:name`` of the function that takes those options and returns the exit status.
        help: One line that describes the command.
    """

    options: str
    run: str
    help: str


COMMANDS: Mapping[str, Command | Mapping[str, Command]] = {
    "collect": Command(
        "strathack.collect.options:CollectConfig",
        "strathack.collect.commands:collect",
        "play games and record every step with the strategy behind it",
    ),
    "dataset": {
        "info": Command(
            "strathack.dataset.options:InfoConfig", "strathack.dataset.commands:info", "print what a dataset contains"
        ),
        "verify": Command(
            "strathack.collect.options:VerifyConfig",
            "strathack.collect.commands:verify",
            "check a dataset's structure and checksums, and on request replay its games",
        ),
        "repair": Command(
            "strathack.dataset.options:RepairConfig",
            "strathack.dataset.commands:repair",
            "copy the games that pass verification into a new dataset",
        ),
        "merge": Command(
            "strathack.dataset.options:MergeConfig",
            "strathack.dataset.commands:merge",
            "copy the games of several datasets into one",
        ),
        "split": Command(
            "strathack.dataset.options:SplitConfig",
            "strathack.dataset.commands:split",
            "split into train, validation and test",
        ),
        "export": Command(
            "strathack.dataset.options:ExportConfig",
            "strathack.dataset.commands:export",
            "write a Minari dataset or Parquet tables",
        ),
        "import": Command(
            "strathack.collect.options:ImportConfig",
            "strathack.collect.commands:import_",
            "import recorded games: HiHack's, NLD's, human ones, one's own",
        ),
        "relabel": Command(
            "strathack.collect.options:RelabelConfig",
            "strathack.collect.commands:relabel",
            "play imported AutoAscend games again for their true strategies",
        ),
        "compact": Command(
            "strathack.dataset.options:CompactConfig",
            "strathack.dataset.commands:compact",
            "keep only keys and labels, from which the games can be replayed",
        ),
        "expand": Command(
            "strathack.collect.options:ExpandConfig",
            "strathack.collect.commands:expand",
            "replay a keys-only dataset into a full one",
        ),
        "publish": Command(
            "strathack.dataset.options:PublishDataConfig",
            "strathack.dataset.publishing.commands:publish",
            "make a folder that others can find, check and load, and upload it",
        ),
        "pull": Command(
            "strathack.dataset.options:PullConfig",
            "strathack.dataset.remote.commands:pull",
            "fetch a published dataset",
        ),
    },
    "models": {
        "list": Command(
            "strathack.models.options:ModelsConfig",
            "strathack.models.commands:list_",
            "list the preset policies and the trained ones",
        ),
        "publish": Command(
            "strathack.models.options:PublishConfig",
            "strathack.models.commands:publish_",
            "write a run's policy, and what is known of it, into one file or a folder for the hub",
        ),
        "import-hihack": Command(
            "strathack.models.options:ImportHihackConfig",
            "strathack.models.commands:import_hihack",
            "convert a checkpoint of the HiHack paper",
        ),
    },
    "label": {
        "train": Command(
            "strathack.models.labelling.options:LabelTrainConfig",
            "strathack.models.labelling.commands:train",
            "train a labeller, which tells the strategy at a step from the screens around it",
        ),
        "apply": Command(
            "strathack.models.labelling.options:LabelApplyConfig",
            "strathack.models.labelling.commands:apply_",
            "label the steps of games that have no strategies",
        ),
    },
    "pretrain": Command(
        "strathack.models.pretraining.options:PretrainConfig",
        "strathack.models.pretraining.commands:pretrain_",
        "train an encoder and a model of progress on recordings without actions and rewards",
    ),
    "train": Command(
        "strathack.models.options:TrainConfig",
        "strathack.models.commands:train",
        "clone actions and strategies, or learn offline from the rewards too",
    ),
    "finetune": Command(
        "strathack.rl.options:FinetuneConfig",
        "strathack.rl.commands:finetune",
        "train a policy by reinforcement learning, combined with imitation",
    ),
    "evaluate": Command(
        "strathack.rl.options:EvaluateConfig",
        "strathack.commands.evaluate:evaluate",
        "play games to measure how well a policy, a bot or AutoAscend scores",
    ),
    "compare": Command(
        "strathack.analysis.options:CompareConfig",
        "strathack.analysis.commands:compare",
        "test whether one player is better than another, by the games they played",
    ),
    "report": Command(
        "strathack.analysis.options:ReportConfig",
        "strathack.commands.report:report",
        "write one page about a dataset or an evaluation, with games to watch in it",
    ),
    "watch": Command(
        "strathack.analysis.options:WatchConfig",
        "strathack.commands.watch:watch",
        "watch a game in the terminal, with the strategy at each step",
    ),
    "export-cast": Command(
        "strathack.analysis.options:ExportCastConfig",
        "strathack.commands.watch:export_cast",
        "write a game as a recording for asciinema",
    ),
    "export-video": Command(
        "strathack.analysis.options:ExportVideoConfig",
        "strathack.commands.export_video:export_video",
        "write a game as an mp4 or a gif",
    ),
    "text": {
        "export": Command(
            "strathack.text.options:ExportConfig",
            "strathack.commands.text:export",
            "write games as text that language models are trained on",
        ),
        "show": Command(
            "strathack.text.options:ShowConfig",
            "strathack.commands.text:show",
            "print steps of a game as a language model sees them",
        ),
        "tokens": Command(
            "strathack.text.options:TokensConfig",
            "strathack.commands.text:tokens",
            "tell what a step costs in tokens, as an observation and as a diff",
        ),
        "train": Command(
            "strathack.text.options:TrainConfig",
            "strathack.text.commands:train",
            "train a language model on an export",
        ),
    },
    "analysis": {
        "strategies": Command(
            "strathack.analysis.options:StrategiesConfig",
            "strathack.analysis.commands:strategies",
            "draw the strategies of each game over time, and their shares by role",
        ),
    },
}
"""Commands, and groups of them, by name."""

GROUP_HELP: Mapping[str, str] = {
    "dataset": "inspect, check, import, replay and convert datasets",
    "models": "list policies; publish a trained one; convert the HiHack paper's checkpoints",
    "label": "strategies for games that have none",
    "text": "games as text, for language models",
    "analysis": "statistics and pictures of a dataset",
}


GROUP_DEFAULT: Mapping[str, str] = {"models": "list"}
"""Group → the command that runs if none of its commands is named."""

EXTRAS: Mapping[str, str] = {
    "torch": "train",
    "pytorch_lightning": "train",
    "safetensors": "train",
    "huggingface_hub": "train",
    "av": "export",
    "PIL": "export",
    "tokenizers": "text",
    "transformers": "text",
    "accelerate": "text",
}
"""Package that a command may need → the extra that installs it."""
