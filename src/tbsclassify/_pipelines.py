"""The last step of a Pipeline, and the metadata that its fit takes."""

from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter


def groups_parameter(model):
    """Name under which a model's fit takes the patients, None where it does not."""
    prefix = ""
    if isinstance(model, Pipeline):
        prefix, model = f"{model.steps[-1][0]}__", model[-1]
    takes = has_fit_parameter(model, "groups") or isinstance(model, BaseSearchCV)
    return f"{prefix}groups" if takes else None
