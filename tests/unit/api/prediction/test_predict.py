import numpy as np

from api.prediction.onnx_models import OnnxModels
from api.prediction.predict import predict, to_inputs
from shared.db.engine import Database
from shared.formats.results import ONNX_FILE
from tests.support import factories, queue_driver
from tests.support.onnx_models import make_counting_onnx
from tests.support.statements import recorded_statements


def test_prediction_by_a_loaded_model_reads_the_database_once(database: Database) -> None:
    image = tuple(map(tuple, np.full((28, 28), 0.5).tolist()))
    model = factories.make_model(files={ONNX_FILE: make_counting_onnx()})
    queue_driver.succeed(database, queue_driver.running(database), model)
    loaded_models, inputs = OnnxModels(), to_inputs((image,))
    predict(database, loaded_models, model.id, inputs, None)

    with recorded_statements(database) as statements:
        predictions = predict(database, loaded_models, model.id, inputs, None)

    assert [prediction.prediction for prediction in predictions.data] == [3]
    assert len([statement for statement in statements if statement.sql.startswith("SELECT")]) == 1
