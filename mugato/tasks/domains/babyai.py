"""BabyAI: instructions in language, in grid worlds (Chevalier-Boisvert et al. 2019).

Observation: a 56x56 picture of the 7x7 cells before the agent, its direction, the mission.
Expert: the bot that comes with the levels. The return falls with the time used, from 1. At some
seeds of Unlock, UnlockToUnlock and GoToImpUnlock it plans without end and gives up.

Missing are the six levels that the bot cannot solve: KeyInBox, the three PutNext...Carrying and the
two OpenDoorsOrder...Debug.
"""

from functools import partial

from mugato.tasks.domains.minigrid import make_bot, make_grid_env
from mugato.tasks.task import Task


def babyai(
    name: str, level: str, max_episode_steps: int, *, episodes: int = 2000, jat: bool = False
) -> Task:
    """Make the task of a BabyAI level.

    Args:
        max_episode_steps: the level's own limit, which the environment applies: the square of the
            room size times the number of rooms times the number of places to go to. Where that
            number depends on the mission, the largest.
        jat: whether JAT has it, under the same name.
    """
    name = f"babyai-{name}"
    return Task(
        name=name,
        domain="babyai",
        make_env=partial(make_grid_env, f"BabyAI-{level}"),
        make_expert=make_bot,
        max_episode_steps=max_episode_steps,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.05,
        jat_name=name if jat else None,
    )


PACKAGES = ("minigrid",)
TASKS = (
    babyai("go-to-red-ball-grey", "GoToRedBallGrey-v0", 64, jat=True),
    babyai("go-to-red-ball", "GoToRedBall-v0", 64, jat=True),
    babyai("go-to-red-ball-no-dists", "GoToRedBallNoDists-v0", 64, jat=True),
    babyai("go-to-obj", "GoToObj-v0", 64, jat=True),
    babyai("go-to-obj-s4", "GoToObjS4-v0", 16),
    babyai("go-to-obj-s6", "GoToObjS6-v1", 36),
    babyai("go-to-local", "GoToLocal-v0", 64, episodes=8000, jat=True),
    babyai("go-to-local-s5n2", "GoToLocalS5N2-v0", 25),
    babyai("go-to-local-s6n2", "GoToLocalS6N2-v0", 36),
    babyai("go-to-local-s6n3", "GoToLocalS6N3-v0", 36),
    babyai("go-to-local-s6n4", "GoToLocalS6N4-v0", 36),
    babyai("go-to-local-s7n4", "GoToLocalS7N4-v0", 49),
    babyai("go-to-local-s7n5", "GoToLocalS7N5-v0", 49),
    babyai("go-to-local-s8n2", "GoToLocalS8N2-v0", 64),
    babyai("go-to-local-s8n3", "GoToLocalS8N3-v0", 64),
    babyai("go-to-local-s8n4", "GoToLocalS8N4-v0", 64),
    babyai("go-to-local-s8n5", "GoToLocalS8N5-v0", 64),
    babyai("go-to-local-s8n6", "GoToLocalS8N6-v0", 64),
    babyai("go-to-local-s8n7", "GoToLocalS8N7-v0", 64),
    babyai("go-to", "GoTo-v0", 576, jat=True),
    babyai("go-to-open", "GoToOpen-v0", 576),
    babyai("go-to-obj-maze", "GoToObjMaze-v0", 576),
    babyai("go-to-obj-maze-open", "GoToObjMazeOpen-v0", 576),
    babyai("go-to-obj-maze-s4r2", "GoToObjMazeS4R2-v0", 64),
    babyai("go-to-obj-maze-s4", "GoToObjMazeS4-v0", 144),
    babyai("go-to-obj-maze-s5", "GoToObjMazeS5-v0", 225),
    babyai("go-to-obj-maze-s6", "GoToObjMazeS6-v0", 324),
    babyai("go-to-obj-maze-s7", "GoToObjMazeS7-v0", 441),
    babyai("go-to-imp-unlock", "GoToImpUnlock-v0", 576, jat=True),
    babyai("go-to-seq", "GoToSeq-v0", 2304, jat=True),
    babyai("go-to-seq-s5r2", "GoToSeqS5R2-v0", 400),
    babyai("go-to-red-blue-ball", "GoToRedBlueBall-v0", 64, jat=True),
    babyai("go-to-door", "GoToDoor-v0", 441, jat=True),
    babyai("go-to-obj-door", "GoToObjDoor-v0", 576, jat=True),
    babyai("open", "Open-v0", 576, jat=True),
    babyai("open-red-door", "OpenRedDoor-v0", 50, jat=True),
    babyai("open-door", "OpenDoor-v0", 441, episodes=3000, jat=True),
    babyai("open-door-debug", "OpenDoorDebug-v0", 576),
    babyai("open-door-color", "OpenDoorColor-v0", 576),
    babyai("open-door-loc", "OpenDoorLoc-v0", 576),
    babyai("open-two-doors", "OpenTwoDoors-v0", 720, jat=True),
    babyai("open-red-blue-doors", "OpenRedBlueDoors-v0", 720),
    babyai("open-red-blue-doors-debug", "OpenRedBlueDoorsDebug-v0", 720),
    babyai("open-doors-order-n2", "OpenDoorsOrderN2-v0", 720),
    babyai("open-doors-order-n4", "OpenDoorsOrderN4-v0", 720, jat=True),
    babyai("pickup", "Pickup-v0", 576, jat=True),
    babyai("unblock-pickup", "UnblockPickup-v0", 576, jat=True),
    babyai("pickup-loc", "PickupLoc-v0", 64, jat=True),
    babyai("pickup-dist", "PickupDist-v0", 49, jat=True),
    babyai("pickup-dist-debug", "PickupDistDebug-v0", 49),
    babyai("pickup-above", "PickupAbove-v0", 288, jat=True),
    babyai("put-next-local", "PutNextLocal-v0", 128, jat=True),
    babyai("put-next-local-s5n3", "PutNextLocalS5N3-v0", 50),
    babyai("put-next-local-s6n4", "PutNextLocalS6N4-v0", 72),
    babyai("put-next-s4n1", "PutNextS4N1-v0", 128),
    babyai("put-next-s5n2", "PutNextS5N2-v0", 200),
    babyai("put-next-s5n1", "PutNextS5N1-v0", 200),
    babyai("put-next-s6n3", "PutNextS6N3-v0", 288),
    babyai("put-next", "PutNextS7N4-v0", 392, jat=True),
    babyai("unlock", "Unlock-v0", 576, jat=True),
    babyai("unlock-local", "UnlockLocal-v0", 576, jat=True),
    babyai("unlock-local-dist", "UnlockLocalDist-v0", 576),
    babyai("unlock-pickup", "UnlockPickup-v0", 72, jat=True),
    babyai("unlock-pickup-dist", "UnlockPickupDist-v0", 72),
    babyai("blocked-unlock-pickup", "BlockedUnlockPickup-v0", 576, jat=True),
    babyai("unlock-to-unlock", "UnlockToUnlock-v0", 1080, jat=True),
    babyai("action-obj-door", "ActionObjDoor-v0", 441, jat=True),
    babyai("find-obj-s5", "FindObjS5-v0", 500, jat=True),
    babyai("find-obj-s6", "FindObjS6-v0", 720),
    babyai("find-obj-s7", "FindObjS7-v0", 980),
    babyai("key-corridor", "KeyCorridor-v0", 1080, jat=True),
    babyai("key-corridor-s3r1", "KeyCorridorS3R1-v0", 270),
    babyai("key-corridor-s3r2", "KeyCorridorS3R2-v0", 270),
    babyai("key-corridor-s3r3", "KeyCorridorS3R3-v0", 270),
    babyai("key-corridor-s4r3", "KeyCorridorS4R3-v0", 480),
    babyai("key-corridor-s5r3", "KeyCorridorS5R3-v0", 750),
    babyai("key-corridor-s6r3", "KeyCorridorS6R3-v0", 1080),
    babyai("one-room-s8", "OneRoomS8-v0", 64, jat=True),
    babyai("one-room-s12", "OneRoomS12-v0", 144),
    babyai("one-room-s16", "OneRoomS16-v0", 256),
    babyai("one-room-s20", "OneRoomS20-v0", 400),
    babyai("move-two-across-s5n2", "MoveTwoAcrossS5N2-v0", 400),
    babyai("move-two-across-s8n9", "MoveTwoAcrossS8N9-v0", 1024, jat=True),
    babyai("synth", "Synth-v0", 1152, jat=True),
    babyai("synth-s5r2", "SynthS5R2-v0", 300),
    babyai("synth-loc", "SynthLoc-v0", 1152, jat=True),
    babyai("synth-seq", "SynthSeq-v0", 4608, jat=True),
    babyai("mini-boss-level", "MiniBossLevel-v0", 800, jat=True),
    babyai("boss-level", "BossLevel-v0", 4608, jat=True),
    babyai("boss-level-no-unlock", "BossLevelNoUnlock-v0", 4608, jat=True),
)
