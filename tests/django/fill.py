from cmms.models import Asset, Location, Task
from django.contrib.auth.models import User

users = User.objects.bulk_create(User(username=name) for name in ["ada", "grace", 'say "hi"'])
locations = Location.objects.bulk_create(Location(name=f"Hall {n}, north") for n in range(7))
assets = Asset.objects.bulk_create(Asset(name=f"Pump\n{n}", location=locations[n % 7]) for n in range(50))
Task.objects.bulk_create(
    Task(title=f"Oil it; {n} ü", done=n % 3 == 0, asset=assets[n * 7 % 50], created_by=users[n % 3], updated_by=users[n % 2] if n % 4 else None)
    for n in range(3000)
)
