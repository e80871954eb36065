"""The configurations of the JAT data set, by name: 157 control tasks, two texts, two picture sets.

Names as in JAT's own table of scores (Gallouédec et al. 2024).
"""

# How many actions an Atari game has (ALE's minimal set): the data holds numbers only.
ATARI_ACTIONS = {
    "alien": 18, "amidar": 10, "assault": 7, "asterix": 9, "asteroids": 14, "atlantis": 4,
    "bankheist": 18, "battlezone": 18, "beamrider": 9, "berzerk": 18, "bowling": 6, "boxing": 18,
    "breakout": 4, "centipede": 18, "choppercommand": 18, "crazyclimber": 9, "defender": 18,
    "demonattack": 6, "doubledunk": 18, "enduro": 9, "fishingderby": 18, "freeway": 3,
    "frostbite": 18, "gopher": 8, "gravitar": 18, "hero": 18, "icehockey": 18, "jamesbond": 18,
    "kangaroo": 18, "krull": 18, "kungfumaster": 14, "montezumarevenge": 18, "mspacman": 9,
    "namethisgame": 6, "phoenix": 8, "pitfall": 18, "pong": 6, "privateeye": 18, "qbert": 6,
    "riverraid": 18, "roadrunner": 18, "robotank": 18, "seaquest": 18, "skiing": 3, "solaris": 18,
    "spaceinvaders": 6, "stargunner": 18, "surround": 5, "tennis": 18, "timepilot": 10,
    "tutankham": 8, "upndown": 6, "venture": 18, "videopinball": 9, "wizardofwor": 10,
    "yarsrevenge": 18, "zaxxon": 18,
}  # fmt: skip
BABYAI_ACTIONS = 7
# Names, apart by white space.
BABYAI = """
action-obj-door blocked-unlock-pickup boss-level boss-level-no-unlock find-obj-s5 go-to go-to-door
go-to-imp-unlock go-to-local go-to-obj go-to-obj-door go-to-red-ball go-to-red-ball-grey
go-to-red-ball-no-dists go-to-red-blue-ball go-to-seq key-corridor mini-boss-level
move-two-across-s8n9 one-room-s8 open open-door open-doors-order-n4 open-red-door open-two-doors
pickup pickup-above pickup-dist pickup-loc put-next put-next-local synth synth-loc synth-seq
unblock-pickup unlock unlock-local unlock-pickup unlock-to-unlock
"""
METAWORLD = """
assembly basketball bin-picking box-close button-press button-press-topdown
button-press-topdown-wall button-press-wall coffee-button coffee-pull coffee-push dial-turn
disassemble door-close door-lock door-open door-unlock drawer-close drawer-open faucet-close
faucet-open hammer hand-insert handle-press handle-press-side handle-pull handle-pull-side
lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place pick-place-wall plate-slide
plate-slide-back plate-slide-back-side plate-slide-side push push-back push-wall reach reach-wall
shelf-place soccer stick-pull stick-push sweep sweep-into window-close window-open
"""
MUJOCO = """
ant doublependulum halfcheetah hopper humanoid pendulum pusher reacher standup swimmer walker
"""
TASKS = (
    *(f"atari-{game}" for game in ATARI_ACTIONS),
    *(f"babyai-{level}" for level in BABYAI.split()),
    *(f"metaworld-{task}" for task in METAWORLD.split()),
    *(f"mujoco-{task}" for task in MUJOCO.split()),
)
TEXTS = ("oscar", "wikipedia")
PICTURES = ("conceptual-captions", "ok-vqa")
CONFIGS = (*TASKS, *TEXTS, *PICTURES)
