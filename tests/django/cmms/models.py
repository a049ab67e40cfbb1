"""The models of a CMMS, as the article has them."""

from django.contrib.auth.models import User
from django.db import models


class Location(models.Model):
    name = models.CharField(max_length=255)


class Asset(models.Model):
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    location = models.ForeignKey(Location, models.PROTECT)


class Task(models.Model):
    title = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    done = models.BooleanField(default=False)
    asset = models.ForeignKey(Asset, models.PROTECT)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    updated_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
