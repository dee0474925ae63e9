"""Follow a training epoch by epoch, on scans that are held out from it."""

import copy

import numpy as np
from skorch.callbacks import Callback

from tbsclassify.estimators._net import ImageData


class EpochMonitor(Callback):
    """A skorch callback that shows a classifier as it stands after each epoch.

    It draws no random numbers and changes nothing: the training is bit for bit what
    it is without.

    Parameters
    ----------
    classifier : BaseTBSClassifier
        The classifier that is trained.
    scans : callable
        Returns the held-out scans. It is called when the training begins, when the
        steps before the classifier in a Pipeline are fitted.
    report : callable
        Called as ``report(classifier, scans, epoch, max_epochs)``, epochs counted
        from 1, with a classifier that predicts these scans and no others.
    """

    def __init__(self, classifier, scans, report):
        self.classifier = classifier
        self.scans = scans
        self.report = report

    def on_train_begin(self, net, **kwargs):
        """Prepare the held-out scans as the net prepares those it is trained on."""
        self.X_ = self.scans()
        images, _ = self.classifier._check_images(self.X_, reset=False)
        data = ImageData(
            images, np.zeros(len(images)), np.ones(len(images)), net.device
        )
        self.data_ = net.precompute(data) if net.precompute_features else data

    def on_epoch_end(self, net, **kwargs):
        """Predict the held-out scans and report."""
        logits = net.logits(x for x, _ in net.get_iterator(self.data_))
        view = copy.copy(self.classifier)
        view.net_ = net
        view._logits = lambda X: logits
        self.report(view, self.X_, len(net.history), net.max_epochs)
