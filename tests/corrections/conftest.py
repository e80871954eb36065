from tests.tasks.conftest import minari_folder as minari_folder
