"""The images of its dataset that a job uses, which follow from its specification and are not stored."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from shared.datasets import splits
from shared.datasets.catalog import DatasetInfo
from shared.errors import DataCorrupt, DataUnavailable
from shared.schemas import EvaluateSpec, Part, TrainSpec
from shared.store import job_queries, models


@dataclass(frozen=True)
class UsedImages:
    """The images that a job uses for one purpose.

    Attributes:
        part: the purpose: training, validation or evaluation.
        training: the specification of the training job; for an evaluation job, of its model's training.
        evaluation: the specification of the evaluation job; None for a training job.
    """

    part: Part
    training: TrainSpec
    evaluation: EvaluateSpec | None

    @property
    def total(self) -> int:
        """The number of images."""
        match self.part:
            case Part.TRAINING:
                return self.training.train_size
            case Part.VALIDATION:
                return self.training.validation_size
            case Part.EVALUATION:
                return (self.evaluation or self.training).evaluation_size

    def rows(self, info: DatasetInfo) -> splits.Rows:
        """Return the images' rows in the dataset's split for this part, in the order of their drawing.

        Raises:
            DataUnavailable: the dataset has fewer images now than when the job was submitted.
        """
        training = self.training
        try:
            if self.part is Part.TRAINING:
                return splits.train_rows(training.seed, self.total, info.train_rows)
            if self.part is Part.VALIDATION:
                return splits.validation_rows(training.seed, self.total, info.test_rows)
            seed = (self.evaluation or training).seed
            return splits.evaluation_rows(seed, self.total, info.test_rows, training.validation_size)
        except DataCorrupt as error:
            raise DataUnavailable(f"the dataset `{info.name}` has changed: {error}") from error


def used(session: Session, job_id: UUID, part: Part) -> UsedImages:
    """Return the images that a job uses for one purpose.

    For an evaluation job, the images of training and validation are those of its model's training.

    Raises:
        JobNotFound: there is no such job.
        ModelNotFound: the model that the job evaluates was deleted.
    """
    spec = job_queries.summary(session, job_id).spec
    if isinstance(spec, TrainSpec):
        return UsedImages(part, spec, None)
    return UsedImages(part, models.spec(session, spec.model_id), spec)
