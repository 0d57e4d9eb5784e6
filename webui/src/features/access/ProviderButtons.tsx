import { Button } from '@mantine/core'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { type LoginProvider, loginProviders } from '../../shared/auth'

/** The ways in by identity providers, where the installation has any. They leave the console: a provider is a page. */
export function ProviderButtons({ next }: { next: string }) {
  const { t } = useTranslation()
  const [providers, setProviders] = useState<LoginProvider[]>([])
  useEffect(() => {
    loginProviders().then(setProviders, () => undefined)
  }, [])
  return providers.map((one) => (
    <Button
      key={one.name}
      component="a"
      variant="default"
      fullWidth
      href={`/auth/oidc/${encodeURIComponent(one.name)}?next=${encodeURIComponent(next)}`}
    >
      {t('login.by', { title: one.title })}
    </Button>
  ))
}
