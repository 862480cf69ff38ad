import numpy as np

from api.prediction.predict import Upload, predict
from api.services import open_services
from shared.schemas import ModelFormat
from shared.settings import Settings
from tests.support import factories
from tests.support.onnx_models import make_counting_onnx
from tests.support.statements import listening


def test_a_model_that_is_loaded_is_looked_up_by_one_statement(settings: Settings, sqlite_url: str) -> None:
    image = tuple(map(tuple, np.full((28, 28), 0.5).tolist()))
    with open_services(settings.model_copy(update={"database_url": sqlite_url})) as services:
        model = factories.make_model(files={ModelFormat.ONNX: make_counting_onnx()})
        factories.succeed(services.database, factories.running(services.database), model)
        predict(services, model.id, Upload((image,)), None)

        with listening(services.database) as found:
            told = predict(services, model.id, Upload((image,)), None)

    assert [one.prediction for one in told.data] == [3]
    assert len([statement for statement in found if statement.sql.startswith("SELECT")]) == 1
